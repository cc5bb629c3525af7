"""What a local AWS gives to this folder's tests."""

from aws_fixtures import aws, name, template

__all__ = ["aws", "name", "template"]
