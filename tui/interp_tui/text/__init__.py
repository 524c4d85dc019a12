"""From values to text that is safe and short: sanitising, numbers, narration. No Textual here."""
