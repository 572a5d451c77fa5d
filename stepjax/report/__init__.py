"""What a run tells people: on the terminal and as report.html."""
