"""What should exist: SQLite behind one writer thread. No ORM; one small file per noun."""
