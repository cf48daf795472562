"""Three NPO systems as real HTTP servers."""
