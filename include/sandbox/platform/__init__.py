"""The platform's part in the sandbox: it asks for enrolments and hears what became of them."""
