"""Files: from the SFTP server to the landing zone and the ledger, their sequence, receipts and replay."""
