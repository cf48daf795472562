"""AppRecords: the applicants ESR is to be told of, one for each placement and position."""
