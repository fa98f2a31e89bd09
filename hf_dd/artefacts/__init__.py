"""What a run leaves: rows, record, card, folder, push."""
