"""The kinds of cases, one a file: each deploys what a case asks for and says what it saw."""
