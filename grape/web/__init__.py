"""The HTTP side: parses requests, checks access, answers the four calls, hands the rest to a twisted.web site."""
