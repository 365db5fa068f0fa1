"""Graph passes that only this target needs and that rest on what targets share."""
