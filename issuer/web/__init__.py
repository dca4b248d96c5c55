"""The two ports. `token` and `discovery` make the `public` app; `resources` and `health` make the `admin` app.

Handlers translate between HTTP and values and decide nothing. The only package that knows Starlette.
"""
