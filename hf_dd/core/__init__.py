"""What every room needs and knows no image: seeding, processes, files, what is kept between runs."""
