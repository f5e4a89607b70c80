"""Perturbed inputs."""
