"""Between the lab and other tools: `read` their files, `audit` how they measured, `export` stored runs to them."""
