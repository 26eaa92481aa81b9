"""What a deployed model does on a whole data set, and whether that is what was agreed on."""
