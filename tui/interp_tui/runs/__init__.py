"""What the app knows of runs, without a screen: listing, following, filtering, comparing, steering them. No Textual here."""
