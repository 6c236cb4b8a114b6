"""The routers of all pages, in the order in which paths are looked for."""

from api.pages import job, jobs, models

ROUTERS = (jobs.router, job.router, models.router)
