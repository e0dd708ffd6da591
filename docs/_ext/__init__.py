"""Makes what the documentation has beside its written pages: drawings, and pages made of the program itself."""
