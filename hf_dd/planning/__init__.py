"""What is chosen on a part of the training images: pools of teachers, and the options of a run that has a budget."""
