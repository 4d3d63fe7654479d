"""Report: results to figures and pages; nothing is computed again."""
