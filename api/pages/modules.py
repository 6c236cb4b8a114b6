"""The routers of all pages, in the order in which paths are looked for."""

from api.pages import compare, job, jobs, login, models, submit, workers

ROUTERS = (
    login.router,
    jobs.router,
    job.router,
    submit.router,
    compare.router,
    models.router,
    workers.router,
)
