"""Generation: from reconciled positions and placements to AppRecords and notifications."""
