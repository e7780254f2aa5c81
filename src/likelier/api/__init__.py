"""The Python interface: train a stage, load what it made. `import likelier` offers these names."""
