"""What the console and the live page share: who may ask, how often, and how a page looks. Knows neither of them."""
