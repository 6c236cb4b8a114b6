"""The routers of all pages, in the order in which paths are looked for."""

from api.pages import compare, job, jobs, models, submit, workers

ROUTERS = (
    jobs.router,
    job.router,
    submit.router,
    compare.router,
    models.router,
    workers.router,
)
