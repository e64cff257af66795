int unused_data;
