"""How a player shows the stored picture: its crop, its size, its proportions, and further data of its frames."""
