"""A run for other programs and people: HTML page, tables, the Hugging Face hub."""
