"""Did it get better? How every model judges, wins, and follows instructions."""
