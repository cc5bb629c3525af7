"""One module a page: its routes, and the typed context that its template gets."""
