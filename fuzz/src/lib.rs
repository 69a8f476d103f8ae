//! Fuzz targets, as functions that tests replay too.
