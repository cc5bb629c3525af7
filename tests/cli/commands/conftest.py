"""What a local AWS gives to this folder's tests."""

from aws_fixtures import aws, local, name, template

__all__ = ["aws", "local", "name", "template"]
