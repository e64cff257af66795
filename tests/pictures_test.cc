int unused_pictures;
