"""Options that several commands share, and their groups, by subject."""
