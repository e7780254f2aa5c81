"""The Python interface: train a stage, load the result. `import likelier` offers these names."""
