"""What operators see of a server: counted requests and predictions, and the record's figures."""
