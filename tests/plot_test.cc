int unused_plot;
