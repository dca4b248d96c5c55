"""What a request is granted, and why (DESIGN section 3, "How they combine"). Pure: values in, values out.

    grant        an account's own spec: what there is to take away from
    catalogue    Scope resources and the server's limits
    ceilings     AuthPolicies and ClusterAuthPolicies, compiled once, indexed by namespace
    governed     an account under everything that reaches it, merged once for all its requests
    decide       what this request gets: Allowed or Denied
    reasons      which policies brought that about, and which of them bind

The account's spec is the grant; everything else only takes away: allowed lists intersect, denied lists unite, deny wins, maxima
take the minimum, requirements add up. Whatever is not granted is withheld.
"""
