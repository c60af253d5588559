"""What a user of the kernel tests with: real servers, and an application over every transport."""
