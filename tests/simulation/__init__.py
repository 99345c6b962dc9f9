"""The product, unchanged, in a world where one seed decides what happens when; and a judge of what it promises."""
