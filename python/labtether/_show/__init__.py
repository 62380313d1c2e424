"""How things look in a notebook: HTML that takes its colours from the page. Nothing here touches a wire; nothing but
`labtether._shown` and the live views import it, and they do so on first look."""
