"""Pages to look at distilled sets: collected from records and rows, drawn by a script that each page carries."""
