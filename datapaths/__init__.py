"""The datapaths under test, one a file; the file name is the registration."""
