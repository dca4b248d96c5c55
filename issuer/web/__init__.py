"""The two ports.

`token` and `discovery` make the `public` app; `resources` (with `body` and `cursor`) and health make the `admin` app, and
`openapi`, `apidiscovery` and `referencepage` say what that is; `listen` serves both. Handlers translate between HTTP and values
and decide nothing. The only package that knows Starlette.
"""
