"""The two ports.

`token` and `discovery` make the `public` app; `resources` (with `body` and `cursor`) and health make the `admin` app; `listen`
serves both. Handlers translate between HTTP and values and decide nothing. The only package that knows Starlette.
"""
