from django.conf.urls.i18n import i18n_patterns
from django.contrib import admin
from django.urls import path
from django.views.generic import TemplateView

from mysite.orders import order

urlpatterns = [
    path("order/<int:number>/", order),
    *i18n_patterns(
        path("admin/", admin.site.urls),
        path("", TemplateView.as_view(template_name="home.html"), name="home"),
    ),
]
