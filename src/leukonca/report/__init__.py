"""One-file HTML reports and their pictures."""
