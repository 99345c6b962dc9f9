"""A site that was there before: consumers and a channel layer of its own, languages in its addresses, a strict CSP."""
