"""Graph passes that rest on what targets share, such as windows; all others stand in `edgeport.passes`."""
