// @ts-check
// The API's page: Swagger UI over the daemon's own document. Requests from here carry the page's token, as those of the
// dashboard's buttons do.

const place = /** @type {HTMLElement} */ (document.getElementById("swagger"));

/** @type {any} */ (window).SwaggerUIBundle({
  url: place.dataset.document,
  domNode: place,
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  validatorUrl: null,
  requestInterceptor: (/** @type {{url: string, method: string}} */ request) => {
    const url = new URL(request.url, location.href);
    if (url.origin === location.origin && request.method && request.method.toUpperCase() !== "GET") {
      url.searchParams.set("page", place.dataset.token ?? "");
    }
    request.url = url.href;
    return request;
  },
});
