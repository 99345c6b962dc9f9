"""What is done to the servers, and what is measured while it is done."""
