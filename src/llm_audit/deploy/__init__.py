"""The system on AWS: its CloudFormation stack set up, looked at and taken down, and its chain checked from outside."""
